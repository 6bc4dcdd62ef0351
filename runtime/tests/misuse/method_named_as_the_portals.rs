#[derive(Default)]
struct Clerk;

#[runtime::actor]
impl Clerk {
    async fn cancel(&self, order: u64) -> u64 {
        order
    }
}

fn main() {}
