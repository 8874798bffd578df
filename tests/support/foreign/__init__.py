"""Kafka clients that are not ours: kcat, confluent-kafka, and the console tools of Java."""
