from pathlib import Path

import pymysql
from flask import Flask

app = Flask(__name__)


def connect():
    password = Path("/run/secrets/db-password").read_text().strip()
    return pymysql.connect(host="db", user="root", password=password, database="example", autocommit=True)


@app.route("/")
def count():
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS visits (number INT AUTO_INCREMENT PRIMARY KEY)")
        cursor.execute("INSERT INTO visits VALUES ()")
        cursor.execute("SELECT count(*) FROM visits")
        return f"Visits counted by MariaDB: {cursor.fetchone()[0]}"
