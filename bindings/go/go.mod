module hypeman

go 1.19
