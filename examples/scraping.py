"""Scraping pages in parallel, from a web server that this program starts. Needs requests and BeautifulSoup."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests
from bs4 import BeautifulSoup

SHELVES = {
    "fruit": ["apple", "quince", "medlar"],
    "tools": ["plane", "chisel"],
    "birds": ["wren", "heron", "swift", "dunlin"],
    "empty": [],
}


class Pages(BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.strip("/")
        self.send_response(200 if name in SHELVES else 404)
        self.end_headers()
        items = "".join(f"<li>{item}</li>" for item in SHELVES.get(name, []))
        self.wfile.write(f"<title>Shelf of {name}</title><ul>{items}</ul>".encode())

    def log_message(self, *arguments):
        pass


def serve(connection):
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        connection.send(server.server_port)
        server.serve_forever()


def scrape(url):
    response = requests.get(url, timeout=30)
    page = BeautifulSoup(response.text, "html.parser")
    return response.status_code, page.title.text, [item.text for item in page.find_all("li")]


def main():
    os.environ["no_proxy"] = "127.0.0.1"
    here, there = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(there,), daemon=True)
    server.start()
    site = f"http://127.0.0.1:{here.recv()}"
    names = [*SHELVES, "nowhere"]
    with ProcessPoolExecutor(max_workers=4) as executor:
        pages = executor.map(scrape, [f"{site}/{name}" for name in names])
        for name, (status, title, items) in zip(names, pages, strict=True):
            print(f"/{name}: {status}, {title}: {', '.join(items) or 'nothing'}")
    server.terminate()
    server.join()


if __name__ == "__main__":
    main()
