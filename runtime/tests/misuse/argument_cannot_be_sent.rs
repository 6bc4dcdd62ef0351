use std::rc::Rc;

#[runtime::remote]
async fn shout(word: Rc<String>) {
    println!("{word}");
}

fn main() {}
