// Reads rows as base64, one a line, with the seed's own type, and writes each as JSON.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<24)
	out := bufio.NewWriter(os.Stdout)
	for in.Scan() {
		row, err := base64.StdEncoding.DecodeString(in.Text())
		check(err)
		var order RawOrderData
		check(gob.NewDecoder(bytes.NewReader(row)).Decode(&order))
		if order.Items == nil {
			order.Items = []RawItemsData{}
		}
		text, err := json.Marshal(struct {
			Key   string
			Order RawOrderData
		}{order.LocalID, order})
		check(err)
		fmt.Fprintf(out, "%s\n", text)
	}
	check(in.Err())
	check(out.Flush())
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
