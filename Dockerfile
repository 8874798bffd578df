# headrace, and in an image made from this one your functions:
#
#     FROM headrace
#     COPY functions.py headrace.toml ./
#
# The embedded log lies in the volume /var/lib/headrace; HEADRACE_BROKER=kafka://… does without. SIGTERM drains.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
RUN python3 -m venv /opt/headrace
COPY . /src
RUN /opt/headrace/bin/python -m pip install --no-cache-dir --disable-pip-version-check /src

FROM ${BASE}
# Folders of its own, because a process without rights cannot make them.
RUN useradd --uid 10001 --user-group --home-dir /app --shell /usr/sbin/nologin headrace \
    && install -d -o headrace -g headrace /app /var/lib/headrace
COPY --from=build /opt/headrace /opt/headrace
ENV PATH=/opt/headrace/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HEADRACE_BROKER=sqlite:/var/lib/headrace/log.db
WORKDIR /app
VOLUME /var/lib/headrace
USER headrace
STOPSIGNAL SIGTERM
ENTRYPOINT ["headrace"]
CMD ["run"]
