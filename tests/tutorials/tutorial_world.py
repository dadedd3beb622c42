"""What the tutorials' programs find around them: pictures, texts, and the pages that they want to read."""

import hashlib
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image, ImageDraw

PICTURES = ["image1.jpg", "image2.jpg", "image3.jpg", *(f"images/{number}.jpg" for number in range(1, 6))]


def furnish(folder):
    for name in ("images", "thumbs"):
        (folder / name).mkdir(parents=True)
    for seed, name in enumerate(PICTURES):
        draw(seed).save(folder / name)
    for number in range(1, 5):
        (folder / f"notes{number}.txt").write_text("so many words\n" * number)


def draw(seed):
    picture = Image.new("RGB", (160, 120), (seed * 30, 120, 200 - seed * 20))
    ImageDraw.Draw(picture).ellipse((10 + 5 * seed, 20, 90, 100), fill=(220, seed * 25, 60))
    return picture


def files(folder):
    """The digest of every file that a program left, by name."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


class Page(BaseHTTPRequestHandler):
    """/HOST/PATH is the page that would be at https://HOST/PATH; one host's page has no title."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        title = "" if "github" in self.path else f"<title>The page {self.path}</title>"
        self.wfile.write(f"<html>{title}<p>Welcome</p></html>".encode())

    def log_message(self, *arguments):
        pass


@contextmanager
def web():
    """The address of a server that stands for the whole web."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
