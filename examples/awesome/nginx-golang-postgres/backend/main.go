// Counts visits in PostgreSQL.
package main

import (
	"database/sql"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"
	"strings"

	_ "github.com/lib/pq"
)

func open() (*sql.DB, error) {
	password, err := os.ReadFile("/run/secrets/db-password")
	if err != nil {
		return nil, err
	}
	place := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword("postgres", strings.TrimSpace(string(password))),
		Host:     "db:5432",
		Path:     "example",
		RawQuery: "sslmode=disable",
	}
	db, err := sql.Open("postgres", place.String())
	if err != nil {
		return nil, err
	}
	_, err = db.Exec("CREATE TABLE IF NOT EXISTS visits (at timestamptz NOT NULL DEFAULT now())")
	return db, err
}

func main() {
	db, err := open()
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		var visits int
		_, err := db.Exec("INSERT INTO visits DEFAULT VALUES")
		if err == nil {
			err = db.QueryRow("SELECT count(*) FROM visits").Scan(&visits)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, "Visits counted by PostgreSQL: %d\n", visits)
	})
	log.Fatal(http.ListenAndServe(":8000", nil))
}
