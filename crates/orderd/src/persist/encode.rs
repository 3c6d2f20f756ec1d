//! encodechan -> gobchan: encodes orders as rows, in gob or as documents, in the binary format of COPY.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use order::Layouts;
use tokio::sync::mpsc;

use crate::pipeline_chunks::Orders;

/// The number of a row's fields, and the lengths of both.
const TUPLE_HEADER_BYTES: usize = 2 + 4 + 4;

/// A chunk of `gobchan`.
pub(crate) struct EncodedRows {
    /// The rows in the format of `COPY … (FORMAT binary)`, without head and tail.
    pub(crate) copy: Bytes,
    /// The range of each row's data in it.
    pub(crate) data: Vec<Range<usize>>,
    /// The orders, row by row.
    pub(crate) orders: Arc<Orders>,
}

/// Runs until `encodechan` closes.
pub(crate) async fn run(
    mut encodechan: mpsc::Receiver<Arc<Orders>>,
    gobchan: mpsc::Sender<EncodedRows>,
    layouts: Arc<Layouts>,
) -> anyhow::Result<()> {
    while let Some(orders) = encodechan.recv().await {
        if gobchan.send(rows(orders, &layouts)).await.is_err() {
            break;
        }
    }
    Ok(())
}

fn rows(orders: Arc<Orders>, layouts: &Layouts) -> EncodedRows {
    // Allocated with its final size: growing would copy it, and the kernel has to zero new pages.
    let sizes =
        orders.orders.iter().map(|order| TUPLE_HEADER_BYTES + order.key().len() + layouts.row_len(order));
    let mut copy = Vec::with_capacity(sizes.sum());
    let mut data = Vec::with_capacity(orders.orders.len());
    for order in &orders.orders {
        copy.extend_from_slice(&2_i16.to_be_bytes());
        put_field(&mut copy, |copy| copy.extend_from_slice(order.key().as_bytes()));
        data.push(put_field(&mut copy, |copy| layouts.write_row(order, copy)));
    }
    EncodedRows { copy: copy.into(), data, orders }
}

/// A field of a COPY row: its length in four bytes, then its bytes.
fn put_field(copy: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
    let at = copy.len();
    copy.extend_from_slice(&[0; 4]);
    let start = copy.len();
    write(copy);
    // A NATS message has at most 64 MiB.
    let length = (copy.len() - start) as i32;
    copy[at..start].copy_from_slice(&length.to_be_bytes());
    start..copy.len()
}
