//! Several processes tell each other what they have committed: others' orders come by that, and what is not told, or
//! told wrongly, changes nothing of what each of them holds.

use std::time::{Duration, Instant};

use async_nats::Subscriber;
use devstack::{Nats, NatsOptions};
use futures_util::StreamExt;
use hyper::StatusCode;

use crate::support::{Service, Stack, eventually, in_three_tries, in_time};

/// Where everything is told, and whatever a test says in their names.
const EVERYWHERE: &str = "orderd.told.>";

/// So many services that have seen that they are not alone.
async fn fleet(stack: &Stack, count: usize) -> Vec<Service> {
    let mut services = Vec::new();
    for _ in 0..count {
        let env = [("LOG", "info,orderd=debug"), ("HTTP_ERASE_TOKEN", "eraser")];
        services.push(stack.serve(&env).await);
    }
    for service in &services {
        eventually("it knows of the others", async || {
            (service.get("/readyz").await.json()["replica"]["alone"] == false).then_some(())
        })
        .await;
    }
    services
}

/// Both servers, where the services may not do all that they want, and `tester` may.
fn with_permissions(permissions: &str) -> Stack {
    let orderd = format!("{{ user: orderd, password: secret, permissions: {{ {permissions} }} }}");
    let users = format!("{orderd}, {{ user: tester, password: secret }}");
    let extra_config = format!("authorization {{ users: [ {users} ] }}\nno_auth_user: orderd\n");
    let nats = Nats::temporary(NatsOptions { extra_config, ..NatsOptions::default() }).unwrap();
    Stack { nats, ..Stack::new() }
}

async fn total(services: &[Service], metric: &str) -> f64 {
    let mut total = 0.0;
    for service in services {
        total += service.metric(metric).await;
    }
    total
}

/// All that is settled by now is known to each of them.
async fn wait_whole(stack: &Stack, services: &[Service], sequence: u64) {
    stack.wait_settled(sequence).await;
    let begun = Instant::now();
    for service in services {
        eventually("it has seen that it is not behind", async || {
            let replica = &service.get("/readyz").await.json()["replica"];
            let age = replica["behind_seconds"].as_f64()?;
            (replica["behind_messages"] == 0 && age < begun.elapsed().as_secs_f64()).then_some(())
        })
        .await;
    }
}

fn reads_headers(service: &Service) -> bool {
    service.process.log().contains("don't tell of all")
}

/// What is told next that has orders in it.
async fn telling(told: &mut Subscriber) -> async_nats::Message {
    let next = async {
        loop {
            let message = told.next().await.unwrap();
            if message.payload.len() > 500 {
                return message;
            }
        }
    };
    in_time("an order is told", next).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_took_comes_by_telling() {
    // Where a process or NATS stands still for a second, what is told late is looked up.
    in_three_tries(async || {
        let stack = Stack::new();
        let services = fleet(&stack, 3).await;
        stack.publish_numbers(0..600).await;
        stack.wait_same(&services, 600).await;
        wait_whole(&stack, &services, 600).await;
        let mut totals = Vec::new();
        for name in ["heard", "orders", "told", "lookups"] {
            totals.push(total(&services, &format!("orderd_replica_{name}_total")).await);
        }
        let stream = stack.jetstream().await.get_stream("ORDERS").await.unwrap();
        let consumers = stream.get_info().await.unwrap().state.consumer_count;
        let is_told = totals == [1200.0, 1200.0, 600.0, 0.0] && consumers == 1;
        let all_told = is_told && !services.iter().any(reads_headers);
        all_told.then_some(()).ok_or(format!("{totals:?}, {consumers} consumers"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_and_empty_messages_of_others_are_told_too() {
    in_three_tries(async || {
        let stack = Stack::new();
        let services = fleet(&stack, 2).await;
        for round in 0..10 {
            stack.publish_numbers(round..round + 1).await;
            stack.publish(&["{", ""]).await;
        }
        stack.wait_same(&services, 10).await;
        wait_whole(&stack, &services, 30).await;
        let all_told = !services.iter().any(reads_headers);
        all_told.then_some(()).ok_or("headers were read".to_owned())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nats_denies_telling_others_orders_are_looked_up() {
    for direction in ["publish", "subscribe"] {
        let stack = with_permissions(&format!("{direction}: {{ deny: \"{EVERYWHERE}\" }}"));
        let services = [stack.serve(&[]).await, stack.serve(&[]).await];
        for round in 0..3 {
            stack.publish_numbers(50 * round..50 * (round + 1)).await;
            stack.wait_same(&services, 50 * (round + 1)).await;
        }
        wait_whole(&stack, &services, 150).await;
        assert!(total(&services, "orderd_replica_lookups_total").await > 0.0);
        assert_eq!(total(&services, "orderd_replica_heard_total").await, 0.0);
        for service in &services {
            let log = service.process.log();
            assert_eq!(log.matches("NATS denies what processes tell").count(), 1, "{direction}: {log}");
            assert!(log.matches("Permissions Violation").count() < 10, "{direction}: {log}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_alone_tells_nothing() {
    let (stack, service) = Stack::started().await;
    stack.publish_numbers(0..50).await;
    stack.wait_settled(50).await;
    assert_eq!(service.metric("orderd_replica_told_total").await, 0.0);
    assert_eq!(service.metric("orderd_replica_alone").await, 1.0);
}

/// Each second it says of itself that it is there; that would take most of two minutes.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_just_come_is_answered_at_once() {
    const GREETINGS: usize = 100;
    let (stack, _service) = Stack::started().await;
    let client = stack.client().await;
    let mut told = client.subscribe(EVERYWHERE).await.unwrap();
    let subject = told.next().await.unwrap().subject;
    let greeting = [&[1][..], &[0; 12]].concat();
    let answers = async {
        for _ in 0..GREETINGS {
            client.publish(subject.clone(), greeting.clone().into()).await.unwrap();
            // The client hears itself, too.
            while told.next().await.unwrap().payload == greeting {}
        }
    };
    tokio::time::timeout(Duration::from_secs(60), answers).await.expect("greetings are not answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_where_orders_are_told_harms_nothing() {
    // The services themselves tell nothing that would come in spite of it.
    let stack = with_permissions(&format!("publish: {{ deny: \"{EVERYWHERE}\" }}"));
    let services = [stack.serve(&[]).await, stack.serve(&[]).await];
    let stream = stack.jetstream().await.get_stream("ORDERS").await.unwrap();
    let made = stream.consumer_info("orderd").await.unwrap().created.unix_timestamp_nanos() as i64;
    let front = [&[1], &made.to_be_bytes()[..], &[0; 4]].concat();
    let mut garbage = vec![vec![], vec![0; 1 << 20], b"{}".to_vec()];
    for sequence in (1..=40).chain([1 << 40, u64::MAX]) {
        // What will be an order is said to be one whose row can't be read.
        let key = format!("1700000000000000000-{sequence}");
        let length = [key.len() as u8];
        let row = [&sequence.to_be_bytes()[..], &length, key.as_bytes(), &[0, 0, 0, 3, 1, 2, 3]];
        let whole = [&front, &row.concat()[..]].concat();
        // Cut, of another form, of another durable, and of a key that nobody has made.
        garbage.extend([1, 10, 20].map(|left| whole[..whole.len() - left].to_vec()));
        garbage.extend([0, 5].map(|place| {
            let nothing = [&front, &sequence.to_be_bytes()[..], &[0]].concat();
            [&nothing[..place], &[nothing[place] ^ 0x80], &nothing[place + 1..]].concat()
        }));
        garbage.push(String::from_utf8_lossy(&whole).replace('-', "*").into_bytes());
        garbage.push(whole);
    }
    let options = async_nats::ConnectOptions::with_user_and_password("tester".into(), "secret".into());
    let client = options.connect(stack.nats.url()).await.unwrap();
    for bytes in garbage {
        client
            .publish("orderd.told.TESTING.orderd.demo1%2E%22public%22%2E%22orders2%22", bytes.into())
            .await
            .unwrap();
    }
    client.flush().await.unwrap();
    eventually("it is heard", async || {
        let mut all = services.iter();
        all.all(|service| service.process.log().contains("1700000000000000000-18446744073709551615"))
            .then_some(())
    })
    .await;
    assert!(total(&services, "orderd_replica_dropped_total").await > 0.0);
    stack.publish_numbers(0..40).await;
    stack.wait_same(&services, 40).await;
    wait_whole(&stack, &services, 40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_order_that_is_told_late_does_not_come_back() {
    let stack = Stack::new();
    let services = fleet(&stack, 2).await;
    let client = stack.client().await;
    let mut told = client.subscribe(EVERYWHERE).await.unwrap();
    client.flush().await.unwrap();
    stack.publish_numbers(0..1).await;
    let late = telling(&mut told).await;
    stack.wait_same(&services, 1).await;
    let id = services[0].ids().await.remove(0);
    assert_eq!(services[0].erase(&id, "eraser").await, StatusCode::NO_CONTENT);
    for service in &services {
        service.wait_len(0).await;
    }
    let heard = total(&services, "orderd_replica_heard_total").await;
    client.publish(late.subject, late.payload).await.unwrap();
    eventually("both have heard it", async || {
        (total(&services, "orderd_replica_heard_total").await >= heard + 2.0).then_some(())
    })
    .await;
    stack.publish_numbers(1..2).await;
    stack.wait_same(&services, 1).await;
    for service in &services {
        assert_eq!(service.get(&format!("/order/{id}")).await.status, StatusCode::NOT_FOUND);
    }
}
