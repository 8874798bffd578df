from __future__ import annotations

from headrace.tickets import Tickets

NAME = ("orders", ("e-1",))


def test_each_append_has_a_number_of_its_own_and_tells_which_were_answered():
    tickets = Tickets()
    first, second, third = (tickets.take(None) for _ in range(3))
    assert [one.number for one in (first, second, third)] == [0, 1, 2]
    assert len({one.producer for one in (first, second, third)}) == 1
    tickets.answered(second)
    assert tickets.take(None).answered == 0
    tickets.answered(first)
    assert tickets.take(None).answered == 2


def test_two_producers_are_never_the_same():
    assert Tickets().take(None).producer != Tickets().take(None).producer


def test_a_lost_one_is_known_by_its_name_and_is_not_forgotten_meanwhile():
    tickets = Tickets()
    ticket = tickets.take(NAME)
    tickets.lost(ticket, NAME)
    for _ in range(5):
        tickets.answered(tickets.take(None))
    again = tickets.take(NAME)
    assert (again.number, again.answered) == (ticket.number, ticket.number)
    tickets.answered(again)
    assert tickets.take(NAME).number == 6


def test_one_with_an_answer_is_a_new_one_the_next_time():
    tickets = Tickets()
    tickets.answered(tickets.take(NAME))
    assert tickets.take(NAME).number == 1


def test_a_lost_one_without_a_name_is_given_up():
    tickets = Tickets()
    tickets.lost(tickets.take(None), None)
    assert tickets.take(None).answered == 1


def test_no_more_than_a_thousand_lost_ones_are_kept():
    tickets = Tickets()
    names = [("orders", (f"e-{n}",)) for n in range(1001)]
    for name in names:
        tickets.lost(tickets.take(name), name)
    assert tickets.take(names[0]).number == 1001
    assert tickets.take(names[1]).number == 1
    assert "1000 of them lost" not in repr(tickets)
