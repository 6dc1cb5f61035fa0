module backend

go 1.18
