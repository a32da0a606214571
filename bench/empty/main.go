// Command empty does nothing: the floor for any Go program.
package main

func main() {}
