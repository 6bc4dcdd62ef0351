#[runtime::remote]
async fn shout(word: &str) {
    println!("{word}");
}

fn main() {}
