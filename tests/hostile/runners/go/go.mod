module runner

go 1.19

require hypeman v0.0.0

replace hypeman => ../../../../bindings/go
