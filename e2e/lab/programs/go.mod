module strobe.dev/lab/programs

go 1.26.0
