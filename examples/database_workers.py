"""A database connection for each worker: its initializer opens one, and every query of that worker uses it."""

import sqlite3
import tempfile
from multiprocessing import Pool
from pathlib import Path

SPECIES = ["wren", "heron", "swift", "dunlin", "plover"]

connection = None


def connect(path):
    global connection
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)


def sightings_of(species):
    query = "SELECT COUNT(*), MIN(day), SUM(birds) FROM sightings WHERE species = ?"
    return connection.execute(query, (species,)).fetchone()


def busiest_days(least, most):
    query = "SELECT day FROM sightings WHERE birds BETWEEN ? AND ? GROUP BY day ORDER BY SUM(birds) DESC, day LIMIT 3"
    return [day for (day,) in connection.execute(query, (least, most))]


def fill(path):
    rows = [(SPECIES[i * i % 7 % 5], 1 + i * 37 % 365, 1 + i * 13 % 29) for i in range(5000)]
    database = sqlite3.connect(path)
    with database:
        database.execute("CREATE TABLE sightings (species TEXT, day INTEGER, birds INTEGER)")
        database.executemany("INSERT INTO sightings VALUES (?, ?, ?)", rows)
    database.close()


def main():
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "birds.sqlite")
        fill(path)
        with Pool(2, initializer=connect, initargs=(path,)) as pool:
            for species, (count, first, birds) in zip(SPECIES, pool.map(sightings_of, SPECIES), strict=True):
                print(f"{species}: seen {count} times" + (f", first on day {first}, {birds} birds" if count else ""))
            flocks = [(1, 5), (6, 15), (16, 29)]
            for (least, most), days in zip(flocks, pool.starmap(busiest_days, flocks), strict=True):
                print(f"flocks of {least} to {most}: busiest on days {days}")


if __name__ == "__main__":
    main()
