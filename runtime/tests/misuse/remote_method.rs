struct Counter;

impl Counter {
    #[runtime::remote]
    async fn add(&self, n: u64) -> u64 {
        n
    }
}

fn main() {}
