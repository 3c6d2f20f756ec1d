// Reads documents as base64, one a line, with encoding/json and the seed's own type, and writes for each the order as
// JSON, or "refused".
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<24)
	out := bufio.NewWriter(os.Stdout)
	for in.Scan() {
		document, err := base64.StdEncoding.DecodeString(in.Text())
		check(err)
		fmt.Fprintf(out, "%s\n", outcome(document))
	}
	check(in.Err())
	check(out.Flush())
}

func outcome(document []byte) []byte {
	var order RawOrderData
	if json.Unmarshal(document, &order) != nil {
		return []byte(`"refused"`)
	}
	if order.Items == nil {
		order.Items = []RawItemsData{}
	}
	text, err := json.Marshal(order)
	check(err)
	return text
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
