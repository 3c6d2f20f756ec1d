// Reads rows as base64, one a line, with the printed types, and writes the fields of each as JSON: floats as their bits,
// because JSON can't tell 1.0 from 1.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"reflect"

	"corpus/data"
)

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<24)
	out := bufio.NewWriter(os.Stdout)
	for in.Scan() {
		row, err := base64.StdEncoding.DecodeString(in.Text())
		check(err)
		var document data.Document
		check(gob.NewDecoder(bytes.NewReader(row)).Decode(&document))
		text, err := json.Marshal(fields(reflect.ValueOf(document)))
		check(err)
		fmt.Fprintf(out, "%s\n", text)
	}
	check(in.Err())
	check(out.Flush())
}

func fields(value reflect.Value) any {
	switch value.Kind() {
	case reflect.Struct:
		all := map[string]any{}
		for i := 0; i < value.NumField(); i++ {
			all[value.Type().Field(i).Name] = fields(value.Field(i))
		}
		return all
	case reflect.Slice:
		all := make([]any, value.Len())
		for i := range all {
			all[i] = fields(value.Index(i))
		}
		return all
	case reflect.Float64:
		return math.Float64bits(value.Float())
	default:
		return value.Interface()
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
