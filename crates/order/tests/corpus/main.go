// Writes rows.jsonl: rows of many writers as Go's own encoding/gob makes them, each with the JSON of the order
// that Go's own decoder reads from it, or null where Go refuses the row or its text can't be shown.
//
//	go run . > rows.jsonl
//
// The output is the same each time: maps have one entry, random bytes have a seed.
package main

import (
	"bufio"
	"bytes"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"unicode/utf8"
)

type line struct {
	Name  string          `json:"name"`
	Row   []byte          `json:"row"`
	Order json.RawMessage `json:"order"`
}

var (
	lines []line
	names = map[string]bool{}
)

func main() {
	orders()
	fieldOrders()
	otherIDs()
	narrowed()
	extras()
	interfaces()
	recursive()
	undecodable()
	broken()

	out := bufio.NewWriter(os.Stdout)
	for _, l := range lines {
		text, err := json.Marshal(l)
		check(err)
		fmt.Fprintf(out, "%s\n", text)
	}
	check(out.Flush())
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// row encodes the values with a separate encoder.
func row(values ...any) []byte {
	var out bytes.Buffer
	encoder := gob.NewEncoder(&out)
	for _, value := range values {
		check(encoder.Encode(value))
	}
	return out.Bytes()
}

func add(name string, row []byte) {
	if names[name] {
		panic("two rows of the name " + name)
	}
	names[name] = true
	lines = append(lines, line{name, row, shown(row)})
}

// good adds a row that Go reads, and fails if it doesn't.
func good(name string, values ...any) {
	add(name, row(values...))
	if string(lines[len(lines)-1].Order) == "null" {
		panic(name + " is not read by Go")
	}
}

// bad adds a row that can't be shown, and fails if it can.
func bad(name string, row []byte) {
	add(name, row)
	if string(lines[len(lines)-1].Order) != "null" {
		panic(name + " is read by Go")
	}
}

func shown(row []byte) json.RawMessage {
	var order RawOrderData
	if gob.NewDecoder(bytes.NewReader(row)).Decode(&order) != nil {
		return json.RawMessage("null")
	}
	if order.Items == nil {
		order.Items = []RawItemsData{}
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	check(encoder.Encode(order))
	// Go shows what is not UTF-8 as U+FFFD, which no order here has.
	if bytes.Contains(out.Bytes(), []byte(`\ufffd`)) || !utf8.Valid(out.Bytes()) {
		return json.RawMessage("null")
	}
	return json.RawMessage(bytes.TrimSpace(out.Bytes()))
}

// as gives an order the type of another writer, by gob itself.
func as[T any](order RawOrderData) T {
	var value T
	check(gob.NewDecoder(bytes.NewReader(row(order))).Decode(&value))
	return value
}

func orders() {
	good("seed/sample", sample())
	good("seed/zero", RawOrderData{})
	good("seed/key only", RawOrderData{LocalID: "1700000000123456789"})
	good("seed/pointer to an order", &[]RawOrderData{sample()}[0])
	for count := 0; count <= 5; count++ {
		good(fmt.Sprintf("seed/%d items", count), withItems(count))
	}
	empty := sample()
	empty.Items = []RawItemsData{}
	good("seed/empty items, not nil", empty)
	blank := sample()
	blank.Items = []RawItemsData{{}, {}, {Status: 1}, {}}
	good("seed/blank items", blank)
	many := sample()
	many.Items = make([]RawItemsData, 300)
	good("seed/300 items", many)
	for name, text := range texts {
		_ = text
		textNames = append(textNames, name)
	}
	sortStrings(textNames)
	for _, name := range textNames {
		good("seed/text/"+name, withText(texts[name]))
	}
	for _, number := range []int{1, -1, 63, -64, 64, -65, 127, 128, -129, 1 << 31, -1 << 31, 1<<63 - 1, -1 << 63} {
		good(fmt.Sprintf("seed/number/%d", number), withNumber(number))
	}
	keyed := sample()
	keyed.Payment.LocalID, keyed.Delivery.LocalID, keyed.Items[0].LocalID = "p", "d", "i"
	good("seed/keys in the nested", keyed)
	good("seed/two values", withItems(1), withItems(2))
	add("seed/bytes behind the value", append(row(sample()), 1, 2, 3))
}

func broken() {
	bad("broken/empty", nil)
	random := rand.New(rand.NewSource(1))
	for index := 0; index < 20; index++ {
		bytes := make([]byte, 1+random.Intn(200))
		random.Read(bytes)
		bad(fmt.Sprintf("broken/random %d", index), bytes)
	}
	whole := row(sample())
	bad("broken/half", whole[:len(whole)/2])
	bad("broken/last byte missing", whole[:len(whole)-1])
	bad("broken/first byte missing", whole[1:])
	bad("broken/zeros", make([]byte, 64))
	bad("broken/a count of 2^63", []byte{0xf8, 0x80, 0, 0, 0, 0, 0, 0, 0})
	bad("broken/text", []byte(`{"order_uid":"b563feb7b2b84b6test"}`))
}
