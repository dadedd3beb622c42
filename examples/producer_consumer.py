"""A producer and consumers over queues, as processes of the program's own; then the same work by a Pool."""

import multiprocessing

CONSUMERS = 2
SENTENCES = [
    "the quick brown fox jumps over the lazy dog",
    "pack my box with five dozen liquor jugs",
    "how vexingly quick daft zebras jump",
    "a process waits until somebody has work for it",
]


def caesar(text, shift):
    return "".join(chr((ord(letter) - 97 + shift) % 26 + 97) if letter.isalpha() else letter for letter in text)


def produce(jobs):
    for number, sentence in enumerate(SENTENCES * 3):
        jobs.put((number, sentence, number % 26))
    for _ in range(CONSUMERS):
        jobs.put(None)


def consume(jobs, results):
    while job := jobs.get():
        number, sentence, shift = job
        results.put((number, caesar(sentence, shift)))


def run_by_queues():
    jobs, results = multiprocessing.Queue(maxsize=4), multiprocessing.Queue()
    processes = [multiprocessing.Process(target=produce, args=(jobs,))]
    processes += [multiprocessing.Process(target=consume, args=(jobs, results)) for _ in range(CONSUMERS)]
    for process in processes:
        process.start()
    collected = dict(results.get() for _ in range(len(SENTENCES) * 3))
    for process in processes:
        process.join()
    return [collected[number] for number in sorted(collected)], [process.exitcode for process in processes]


def main():
    texts, exitcodes = run_by_queues()
    for text in texts[:: len(SENTENCES) - 1]:
        print(text)
    print("exit codes:", exitcodes)
    with multiprocessing.Pool(CONSUMERS) as pool:
        jobs = [(sentence, number % 26) for number, sentence in enumerate(SENTENCES * 3)]
        print("a Pool makes the same of it:", pool.starmap(caesar, jobs) == texts)


if __name__ == "__main__":
    main()
