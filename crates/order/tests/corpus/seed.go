package main

import (
	"reflect"
	"sort"
	"strings"
)

// The model as the Go service has it: names and order of its generated types.

type RawDeliveryData struct {
	Address string `json:"address"`
	City    string `json:"city"`
	Zip     string `json:"zip"`
	Phone   string `json:"phone"`
	Name    string `json:"name"`
	Email   string `json:"email"`
	Region  string `json:"region"`
	LocalID string `json:"-"`
}

type RawItemsData struct {
	Price       int    `json:"price"`
	ChrtId      int    `json:"chrt_id"`
	Status      int    `json:"status"`
	Brand       string `json:"brand"`
	TotalPrice  int    `json:"total_price"`
	Size        string `json:"size"`
	Sale        int    `json:"sale"`
	Name        string `json:"name"`
	Rid         string `json:"rid"`
	TrackNumber string `json:"track_number"`
	NmId        int    `json:"nm_id"`
	LocalID     string `json:"-"`
}

type RawPaymentData struct {
	CustomFee    int    `json:"custom_fee"`
	PaymentDt    int    `json:"payment_dt"`
	Provider     string `json:"provider"`
	Currency     string `json:"currency"`
	Transaction  string `json:"transaction"`
	GoodsTotal   int    `json:"goods_total"`
	DeliveryCost int    `json:"delivery_cost"`
	Bank         string `json:"bank"`
	Amount       int    `json:"amount"`
	RequestId    string `json:"request_id"`
	LocalID      string `json:"-"`
}

type RawOrderData struct {
	SmId              int             `json:"sm_id"`
	Shardkey          string          `json:"shardkey"`
	DeliveryService   string          `json:"delivery_service"`
	CustomerId        string          `json:"customer_id"`
	InternalSignature string          `json:"internal_signature"`
	DateCreated       string          `json:"date_created"`
	Locale            string          `json:"locale"`
	Payment           RawPaymentData  `json:"payment"`
	Entry             string          `json:"entry"`
	Items             []RawItemsData  `json:"items"`
	Delivery          RawDeliveryData `json:"delivery"`
	OofShard          string          `json:"oof_shard"`
	TrackNumber       string          `json:"track_number"`
	OrderUid          string          `json:"order_uid"`
	LocalID           string          `json:"-"`
}

func sample() RawOrderData {
	return RawOrderData{
		OrderUid: "b563feb7b2b84b6test", TrackNumber: "WBILMTESTTRACK", Entry: "WBIL", Locale: "en",
		CustomerId: "test", DeliveryService: "meest", Shardkey: "9", SmId: 99,
		DateCreated: "2021-11-26T06:22:19Z", OofShard: "1", LocalID: "1700000000123456789",
		Delivery: RawDeliveryData{Name: "Test Testov", Phone: "+9720000000", Zip: "2639809", City: "Kiryat Mozkin",
			Address: "Ploshad Mira 15", Region: "Kraiot", Email: "test@gmail.com"},
		Payment: RawPaymentData{Transaction: "b563feb7b2b84b6test", Currency: "USD", Provider: "wbpay", Amount: 1817,
			PaymentDt: 1637907727, Bank: "alpha", DeliveryCost: 1500, GoodsTotal: 317},
		Items: []RawItemsData{item(0)},
	}
}

func item(index int) RawItemsData {
	return RawItemsData{ChrtId: 9934930 + index, TrackNumber: "WBILMTESTTRACK", Price: 453, Rid: "ab4219087a764ae0btest",
		Name: "Mascaras", Sale: 30, Size: "0", TotalPrice: 317, NmId: 2389212, Brand: "Vivienne Sabo", Status: 202}
}

func withItems(count int) RawOrderData {
	order := sample()
	order.Items = nil
	for index := 0; index < count; index++ {
		order.Items = append(order.Items, item(index))
	}
	return order
}

var textNames []string

var texts = map[string]string{
	"cyrillic":         "Иванов Иван, Санкт-Петербург",
	"emoji":            "👩‍👩‍👧 🚚 🇮🇱",
	"quotes":           `"quoted" \ and / 'single' <b>&amp;`,
	"control":          "\x00\x01\x07\b\t\n\v\f\r\x1b\x1f\x7f\u0080\u009f",
	"separators":       "line\u2028paragraph\u2029bom\ufeffzero\u200b",
	"outside the BMP":  "\U0001d11e\U0010ffff\ue000",
	"10 kB":            strings.Repeat("0123456789", 1024),
	"10 kB of escapes": strings.Repeat("\"\\\n\x01", 700),
	"127 bytes":        strings.Repeat("a", 127),
	"128 bytes":        strings.Repeat("b", 128),
	"256 bytes":        strings.Repeat("c", 256),
	"one space":        " ",
}

// withText has the text in some member of each object; the long ones in one only.
func withText(text string) RawOrderData {
	order := sample()
	order.Delivery.City = text
	if len(text) < 1000 {
		order.OrderUid, order.Payment.Bank, order.Items[0].Name, order.OofShard = text, text, text, text
	}
	return order
}

// withNumber has the number in all members that are numbers.
func withNumber(number int) RawOrderData {
	order := sample()
	setNumbers(reflect.ValueOf(&order).Elem(), int64(number))
	return order
}

func setNumbers(value reflect.Value, number int64) {
	switch value.Kind() {
	case reflect.Int:
		value.SetInt(number)
	case reflect.Struct:
		for index := 0; index < value.NumField(); index++ {
			setNumbers(value.Field(index), number)
		}
	case reflect.Slice:
		for index := 0; index < value.Len(); index++ {
			setNumbers(value.Index(index), number)
		}
	}
}

func sortStrings(names []string) { sort.Strings(names) }
