// Answers every request with its path.
package main

import (
	"fmt"
	"log"
	"net/http"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "Go answers %s behind nginx.\n", r.URL.Path)
	})
	log.Fatal(http.ListenAndServe(":80", nil))
}
