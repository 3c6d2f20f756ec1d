package main

import (
	"encoding/gob"
	"fmt"
	"math/big"
	"reflect"
	"time"
)

// everywhere adds what a writer of type T makes of a few orders.
func everywhere[T any](writer string) {
	good(writer+"/sample", as[T](sample()))
	good(writer+"/zero", as[T](RawOrderData{}))
	for _, count := range []int{0, 2, 5} {
		good(fmt.Sprintf("%s/%d items", writer, count), as[T](withItems(count)))
	}
	good(writer+"/cyrillic", as[T](withText(texts["cyrillic"])))
	good(writer+"/control", as[T](withText(texts["control"])))
	good(writer+"/-1", as[T](withNumber(-1)))
	blank := sample()
	blank.Items = []RawItemsData{{}, item(1), {Name: "n"}}
	blank.Payment, blank.Delivery = RawPaymentData{}, RawDeliveryData{}
	good(writer+"/blank parts", as[T](blank))
}

func fieldOrders() {
	byName()
	bySample()
	reversed()
	keyInTheMiddle()
	withoutKey()
	fewFields()
}

func byName() {
	type RawDeliveryData struct{ Address, City, Email, LocalID, Name, Phone, Region, Zip string }
	type RawItemsData struct {
		Brand         string
		ChrtId        int
		LocalID, Name string
		NmId, Price   int
		Rid           string
		Sale          int
		Size          string
		Status        int
		TotalPrice    int
		TrackNumber   string
	}
	type RawPaymentData struct {
		Amount                           int
		Bank, Currency                   string
		CustomFee, DeliveryCost          int
		GoodsTotal                       int
		LocalID                          string
		PaymentDt                        int
		Provider, RequestId, Transaction string
	}
	type RawOrderData struct {
		CustomerId, DateCreated             string
		Delivery                            RawDeliveryData
		DeliveryService, Entry              string
		InternalSignature                   string
		Items                               []RawItemsData
		LocalID, Locale, OofShard, OrderUid string
		Payment                             RawPaymentData
		Shardkey                            string
		SmId                                int
		TrackNumber                         string
	}
	everywhere[RawOrderData]("by name")
}

func bySample() {
	type RawDeliveryData struct{ Name, Phone, Zip, City, Address, Region, Email, LocalID string }
	type RawPaymentData struct {
		Transaction, RequestId, Currency, Provider string
		Amount, PaymentDt                          int
		Bank                                       string
		DeliveryCost, GoodsTotal, CustomFee        int
		LocalID                                    string
	}
	type RawItemsData struct {
		ChrtId           int
		TrackNumber      string
		Price            int
		Rid, Name        string
		Sale             int
		Size             string
		TotalPrice, NmId int
		Brand            string
		Status           int
		LocalID          string
	}
	type RawOrderData struct {
		OrderUid, TrackNumber, Entry                                     string
		Delivery                                                         RawDeliveryData
		Payment                                                          RawPaymentData
		Items                                                            []RawItemsData
		Locale, InternalSignature, CustomerId, DeliveryService, Shardkey string
		SmId                                                             int
		DateCreated, OofShard, LocalID                                   string
	}
	everywhere[RawOrderData]("by sample")
}

func reversed() {
	type RawDeliveryData struct{ LocalID, Region, Email, Name, Phone, Zip, City, Address string }
	type RawItemsData struct {
		LocalID                string
		NmId                   int
		TrackNumber, Rid, Name string
		Sale                   int
		Size                   string
		TotalPrice             int
		Brand                  string
		Status, ChrtId, Price  int
	}
	type RawPaymentData struct {
		LocalID, RequestId              string
		Amount                          int
		Bank                            string
		DeliveryCost, GoodsTotal        int
		Transaction, Currency, Provider string
		PaymentDt, CustomFee            int
	}
	type RawOrderData struct {
		LocalID, OrderUid, TrackNumber, OofShard           string
		Delivery                                           RawDeliveryData
		Items                                              []RawItemsData
		Entry                                              string
		Payment                                            RawPaymentData
		Locale, DateCreated, InternalSignature, CustomerId string
		DeliveryService, Shardkey                          string
		SmId                                               int
	}
	everywhere[RawOrderData]("reversed")
}

func keyInTheMiddle() {
	type Order struct {
		OrderUid, LocalID, TrackNumber string
		SmId                           int
		Items                          []RawItemsData
	}
	everywhere[Order]("key in the middle")
}

func withoutKey() {
	type Delivery struct{ Address, City, Zip string }
	type Item struct{ Price, ChrtId int }
	type Order struct {
		SmId               int
		Shardkey, Locale   string
		Payment            RawPaymentData
		Items              []Item
		Delivery           Delivery
		OofShard, OrderUid string
	}
	everywhere[Order]("without key")
}

func fewFields() {
	type OnlyUid struct{ OrderUid string }
	type OnlyNumber struct{ SmId int }
	type OnlyItems struct{ Items []RawItemsData }
	type OnlyKey struct{ LocalID string }
	type NoCommonItem struct {
		OrderUid string
		Items    []struct{ Other string }
		Delivery struct{ Other int }
	}
	everywhere[OnlyUid]("only uid")
	everywhere[OnlyNumber]("only number")
	everywhere[OnlyItems]("only items")
	good("only key/sample", OnlyKey{LocalID: "1"})
	good("no common item/sample", NoCommonItem{OrderUid: "u", Items: []struct{ Other string }{{"a"}, {""}}})
	good("empty struct/sample", struct{ Items []struct{} }{make([]struct{}, 3)})
}

// otherIDs writes the seed's shape under other type ids: Go numbers the types of a process as it meets them.
func otherIDs() {
	type Payment RawPaymentData
	type Item RawItemsData
	type Delivery RawDeliveryData
	type RawOrderData struct {
		SmId                                                                          int
		Shardkey, DeliveryService, CustomerId, InternalSignature, DateCreated, Locale string
		Payment                                                                       Payment
		Entry                                                                         string
		Items                                                                         []Item
		Delivery                                                                      Delivery
		OofShard, TrackNumber, OrderUid, LocalID                                      string
	}
	row(struct{ Before []map[string]Item }{})
	everywhere[RawOrderData]("other ids")
	type Again RawOrderData
	for count := 0; count < 200; count++ {
		row(arrayOf(count))
	}
	everywhere[Again]("ids of two bytes")
}

// arrayOf is a value of a type that no other has.
func arrayOf(length int) any {
	return reflect.New(reflect.ArrayOf(length+1, reflect.TypeOf(0))).Elem().Interface()
}

// narrowed has fields of types that gob takes for the same: all signed integers, pointers, named types.
func narrowed() {
	type Text string
	type Item struct {
		ChrtId, Price, NmId int32
		Status, Sale        int16
		TotalPrice          int64
		Name                *Text
		Brand               *string
	}
	type Payment struct {
		Amount, GoodsTotal int64
		PaymentDt          *int
		CustomFee          int8
		Bank               Text
	}
	type Order struct {
		OrderUid Text
		SmId     int8
		Payment  *Payment
		Items    []*Item
		Delivery **RawDeliveryData
		Locale   *string
		LocalID  *Text
	}
	everywhere[Order]("narrowed")
	good("narrowed/least", Order{SmId: -128, Payment: &Payment{CustomFee: -128, Amount: -1 << 63}, Items: []*Item{{Status: -1 << 15, ChrtId: -1 << 31}}})
	good("narrowed/most", Order{SmId: 127, Payment: &Payment{CustomFee: 127, Amount: 1<<63 - 1}, Items: []*Item{{Status: 1<<15 - 1, ChrtId: 1<<31 - 1}}})
	good("narrowed/nil pointers", Order{OrderUid: "u"})
	number, text := 0, ""
	good("narrowed/pointers to zero", Order{OrderUid: "u", Payment: &Payment{PaymentDt: &number}, Locale: &text})
}

type inner struct {
	Text   string
	Number int
	Deeper []map[string]float64
}

type plain struct {
	Flag     bool
	Count    uint64
	Ratio    float32
	Wide     float64
	Bytes    []byte
	Text     string
	Complex  complex128
	Array    [3]int
	Bytes4   [4]byte
	Inner    inner
	Pointer  *inner
	Map      map[string]int
	Structs  map[int]inner
	Slices   [][]string
	Nested   [][][]byte
	Time     time.Time
	Big      *big.Int
	Set      map[string]struct{}
	Arrays   [][2]map[bool]inner
	Flags    []bool
	Ratios   []float64
	Empty    struct{}
	Duration time.Duration
}

func filled() plain {
	in := inner{"в", -5, []map[string]float64{{"x": 1.5}, {}}}
	return plain{true, 1<<64 - 1, 0.1, -1e300, []byte{0, 255, 254}, "t", 1 - 2i, [3]int{0, -1, 1}, [4]byte{255, 255, 255, 255}, in, &in,
		map[string]int{"a": 1}, map[int]inner{-1: in}, [][]string{{"a", ""}, nil, {}}, [][][]byte{{{1}, nil}}, time.Unix(1700000000, 5).UTC(),
		big.NewInt(-1 << 62), map[string]struct{}{"s": {}}, [][2]map[bool]inner{{{true: in}, nil}}, []bool{true, false}, []float64{0, -0.5}, struct{}{}, 5}
}

// extras has fields that the model lacks, of all kinds, at the front, at the end and in the nested objects.
func extras() {
	type Front struct {
		Extra plain
		RawOrderData
		OrderUid string
		SmId     int
		Items    []RawItemsData
		LocalID  string
	}
	type Back struct {
		OrderUid string
		Items    []RawItemsData
		Delivery RawDeliveryData
		LocalID  string
		Extra    plain
	}
	type Item struct {
		Before  *plain
		Name    string
		Between map[string][]inner
		ChrtId  int
		After   []plain
		Status  int
	}
	type Inside struct {
		OrderUid string
		Items    []Item
		Payment  struct {
			A      [2]string
			Amount int
			B      *inner
			Bank   string
		}
		LocalID string
	}
	front, back, inside := as[Front](sample()), as[Back](sample()), as[Inside](withItems(3))
	good("extras in front/left out", front)
	good("extras behind/left out", back)
	good("extras inside/left out", inside)
	front.Extra, back.Extra, front.RawOrderData = filled(), filled(), withItems(2)
	good("extras in front/filled", front)
	good("extras behind/filled", back)
	extra := filled()
	inside.Items[0].Before, inside.Items[1].After = &extra, []plain{filled(), {}}
	inside.Items[2].Between, inside.Payment.B = map[string][]inner{"k": {{}, {Number: 7}}}, &inner{Text: "\xff\xfe"}
	good("extras inside/filled", inside)
	good("extras/text that is not UTF-8, unknown", struct{ Extra, OrderUid string }{"\xff\xc0", "u"})
	good("extras/case differs", struct {
		ORDERUID, Orderuid, OrderUid string
	}{"a", "b", "c"})
	everywhere[Front]("extras in front")
	everywhere[Back]("extras behind")
}

type registered struct{ A, B string }
type registeredList []registered

func interfaces() {
	gob.Register(registered{})
	gob.Register(registeredList{})
	gob.Register(&inner{})
	gob.Register([]any{})
	type Front struct {
		Any  any
		More []any
		RawItemsData
		OrderUid string
		SmId     int
		Items    []RawItemsData
		LocalID  string
	}
	type Item struct {
		Name string
		Any  any
		NmId int
	}
	type Inside struct {
		OrderUid string
		Items    []Item
		LocalID  string
		Last     map[string]any
	}
	everywhere[Front]("interfaces in front")
	front, inside := as[Front](withItems(2)), as[Inside](withItems(2))
	good("interfaces inside/nil", inside)
	held := []any{registered{"a", "b"}, 5, "text", []byte{255}, registeredList{{"c", ""}, {}}, &inner{Text: "i"}, 1.5, true, uint8(9), []any{1, "two"}}
	for _, value := range held {
		front.Any, front.More = value, nil
		good(fmt.Sprintf("interfaces in front/%T", value), front)
		inside.Items[1].Any, inside.Last = value, map[string]any{"k": value}
		good(fmt.Sprintf("interfaces inside/%T", value), inside)
	}
	front.Any, front.More = nil, held
	good("interfaces in front/all", front)
	// Go can't skip an interface within an interface that brings a new type.
	front.Any, front.More = []any{1, registered{}}, nil
	bad("beyond Go/interfaces in front/int", row(front))
	inside.Items[1].Any, inside.Last = []any{registered{}}, nil
	bad("beyond Go/interfaces inside/int", row(inside))
}

type list struct {
	Value string
	Next  *list
}
type tree struct {
	Left, Right *tree
	Children    []tree
	Leaf        int
}
type nest []nest
type maps map[string]maps

func recursive() {
	type Order struct {
		List     *list
		OrderUid string
		Tree     tree
		Nest     nest
		Maps     maps
		Items    []struct {
			Name string
			Nest nest
			List *list
		}
		LocalID string
	}
	everywhere[Order]("recursive")
	order := as[Order](withItems(2))
	order.List = &list{"a", &list{"b", &list{"", &list{"d", nil}}}}
	order.Tree = tree{Left: &tree{Right: &tree{Leaf: 1}}, Children: []tree{{}, {Children: []tree{{Leaf: -1}}}}}
	order.Nest, order.Maps = nest{{}, {{}, {nil}}}, maps{"a": maps{"b": nil}}
	order.Items[0].Nest, order.Items[1].List = nest{nest{}}, &list{"x", nil}
	good("recursive/filled", order)
}

// undecodable has rows that are whole but no orders.
func undecodable() {
	bad("undecodable/no field in common", row(struct{ A, B string }{"a", "b"}))
	bad("undecodable/no field in common, left out", row(struct{ A, B string }{}))
	bad("undecodable/uint", row(struct {
		OrderUid string
		SmId     uint
	}{"u", 1}))
	bad("undecodable/uint, left out", row(struct {
		OrderUid string
		SmId     uint
	}{OrderUid: "u"}))
	bad("undecodable/float", row(struct{ SmId float64 }{1}))
	bad("undecodable/text as number", row(struct{ SmId string }{"1"}))
	bad("undecodable/number as text", row(struct{ OrderUid int }{1}))
	bad("undecodable/bytes", row(struct{ OrderUid []byte }{[]byte("u")}))
	bad("undecodable/bool", row(struct{ OrderUid bool }{true}))
	bad("undecodable/uint inside", row(struct{ Items []struct{ Price uint } }{[]struct{ Price uint }{{1}}}))
	bad("undecodable/uint inside, left out", row(struct{ Items []struct{ Price uint } }{}))
	bad("undecodable/struct as slice", row(struct{ Items RawItemsData }{item(0)}))
	bad("undecodable/slice as struct", row(struct{ Delivery []RawDeliveryData }{[]RawDeliveryData{{}}}))
	bad("undecodable/array as slice", row(struct{ Items [2]RawItemsData }{}))
	bad("undecodable/slice of slices", row(struct{ Items [][]RawItemsData }{[][]RawItemsData{{item(0)}}}))
	bad("undecodable/map", row(struct{ Delivery map[string]string }{map[string]string{"City": "c"}}))
	bad("undecodable/time", row(struct{ DateCreated time.Time }{time.Unix(1700000000, 0)}))
	bad("undecodable/time as struct", row(struct{ Delivery time.Time }{time.Unix(1700000000, 0)}))
	bad("undecodable/interface", row(struct{ OrderUid any }{"u"}))
	bad("undecodable/key", row(struct {
		OrderUid string
		LocalID  int
	}{"u", 1}))
	bad("undecodable/key inside", row(struct{ Delivery struct{ LocalID []string } }{}))
	bad("undecodable/a number", row(5))
	bad("undecodable/a string", row("b563feb7b2b84b6test"))
	bad("undecodable/bytes alone", row([]byte{1, 2}))
	bad("undecodable/a slice of orders", row([]RawOrderData{sample()}))
	bad("undecodable/a map of orders", row(map[string]RawOrderData{"k": sample()}))
	bad("undecodable/a time", row(time.Unix(1700000000, 0)))
	bad("undecodable/second value is an order", row(5, sample()))
	for index, text := range []string{"\xff", "a\xc0\x80", "\xed\xa0\x80", "\xf5\x80\x80\x80", "Ива\xd0"} {
		bad(fmt.Sprintf("undecodable/text/%d", index), row(withText(text)))
		inside := sample()
		inside.Items[0].Brand = text
		bad(fmt.Sprintf("undecodable/text inside/%d", index), row(inside))
	}
}
