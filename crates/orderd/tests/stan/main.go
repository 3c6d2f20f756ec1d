// A typical client of NATS Streaming: `publish` sends each line of stdin; `take` receives a number of messages through a durable subscription, acknowledges all but the last two, and exits.
package main

import (
	"bufio"
	"log"
	"os"
	"strconv"

	"github.com/nats-io/stan.go"
)

func main() {
	url, cluster, channel := os.Args[2], os.Args[3], os.Args[4]
	client := os.Args[1]
	if client == "take" {
		client = os.Args[5]
	}
	connection, err := stan.Connect(cluster, client, stan.NatsURL(url))
	check(err)
	defer connection.Close()
	if os.Args[1] == "publish" {
		publish(connection, channel)
	} else {
		count, err := strconv.Atoi(os.Args[7])
		check(err)
		take(connection, channel, os.Args[6], count)
	}
}

func publish(connection stan.Conn, channel string) {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	waiting := make(chan error, 1000)
	sent := 0
	for lines.Scan() {
		_, err := connection.PublishAsync(channel, lines.Bytes(), func(_ string, err error) { waiting <- err })
		check(err)
		sent++
	}
	check(lines.Err())
	for ; sent > 0; sent-- {
		check(<-waiting)
	}
}

func take(connection stan.Conn, channel, durable string, count int) {
	done := make(chan error)
	taken := 0
	_, err := connection.Subscribe(channel, func(message *stan.Msg) {
		taken++
		if taken <= count-2 {
			check(message.Ack())
		}
		if taken == count {
			close(done)
		}
	}, stan.DurableName(durable), stan.DeliverAllAvailable(), stan.SetManualAckMode(), stan.MaxInflight(count))
	check(err)
	<-done
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
