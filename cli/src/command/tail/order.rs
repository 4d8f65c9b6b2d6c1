//! The order in which several sources are shown that are not followed: that of their hosts and
//! programs, so that two runs look alike. Pure.

use rsv_proto::{
    name::natural_order,
    wire::{TailResponse, tail_response::Event},
};

/// The most bytes that are held back for the sake of order; with more, pieces are shown as they
/// come.
const MOST: usize = 8 * 1024 * 1024;

/// What a piece takes beside its bytes, roughly.
const PIECE: usize = 128;

/// Holds pieces back until their order is known.
#[derive(Debug, Default)]
pub(super) struct Order {
    held: Vec<TailResponse>,
    bytes: usize,
    /// Nothing is held back.
    is_open: bool,
}

impl Order {
    /// `is_open` when the order in which pieces come is the right one.
    pub(super) fn new(is_open: bool) -> Self {
        Self {
            is_open,
            ..Self::default()
        }
    }

    /// Takes a piece, and gives what is to be shown now.
    pub(super) fn pass(&mut self, response: TailResponse) -> Vec<TailResponse> {
        if self.is_open {
            return vec![response];
        }
        let data = match &response.event {
            Some(Event::Chunk(chunk)) => chunk.data.len(),
            _ => 0,
        };
        self.bytes += PIECE + data;
        self.held.push(response);
        if self.bytes <= MOST {
            return Vec::new();
        }
        self.is_open = true;
        self.rest()
    }

    /// What has been held back, in order.
    pub(super) fn rest(&mut self) -> Vec<TailResponse> {
        let mut held = std::mem::take(&mut self.held);
        // The pieces of one source stay in the order in which they came.
        held.sort_by(|a, b| {
            natural_order(&a.host, &b.host).then_with(|| natural_order(&a.program, &b.program))
        });
        held
    }
}

#[cfg(test)]
mod tests {
    use rsv_proto::wire::tail_response::Chunk;

    use super::*;

    fn piece(host: &str, data: &[u8]) -> TailResponse {
        TailResponse {
            host: host.into(),
            program: "app".into(),
            event: Some(Event::Chunk(Chunk {
                at: None,
                data: data.to_vec(),
                live: false,
            })),
        }
    }

    fn hosts(pieces: &[TailResponse]) -> Vec<&str> {
        pieces.iter().map(|piece| piece.host.as_str()).collect()
    }

    #[test]
    fn pieces_come_in_the_order_of_hosts() {
        let mut order = Order::new(false);
        for host in ["web10", "web2", "web10", "web1"] {
            assert!(order.pass(piece(host, b"x")).is_empty());
        }
        assert_eq!(hosts(&order.rest()), ["web1", "web2", "web10", "web10"]);
        assert!(order.rest().is_empty());
    }

    #[test]
    fn a_large_output_is_not_held_back_whole() {
        let mut order = Order::new(false);
        assert!(order.pass(piece("b", &[0; 1000])).is_empty());
        let released = order.pass(piece("a", &vec![0; MOST]));
        assert_eq!(hosts(&released), ["a", "b"]);
        assert_eq!(order.pass(piece("a", b"x")).len(), 1);
    }
}
