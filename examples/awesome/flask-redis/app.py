from flask import Flask
from redis import Redis

app = Flask(__name__)
cache = Redis(host="redis", port=6379)


@app.route("/")
def count():
    return f"Visits counted by Redis: {cache.incr('visits')}"


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=8000)
