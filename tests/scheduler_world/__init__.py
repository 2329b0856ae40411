"""A world for the scheduler to live in: workers that may do anything real ones may, played without any of them.

The world carries out the scheduler's commands, as late as it likes, and tells it what happens, as late as it
likes. The rules of the game are those of real workers (``_engine/runner.py``): a worker shows each task before
it begins it, looks after that whether it may, says things in order, and what it had not said when it died is
lost. ``records`` is what there is, ``crew`` what workers do, ``lending`` what is sent past the scheduler and how
it is told (``_engine/dispatcher.py``), ``promises`` what the scheduler must keep, ``world`` all of it together,
``hostility`` the random events.
"""
