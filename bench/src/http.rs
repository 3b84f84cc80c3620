//! The least that a snapshot server can be: keep-alive HTTP/1.1 on loopback, answers ready in memory, nothing parsed
//! but the path. A real one is slower.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use crate::Result;

/// Serves `answers` (paths to JSON) for as long as this process lives, and returns where.
pub fn serve(answers: HashMap<String, Vec<u8>>) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let answers = Arc::new(answers);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answers = Arc::clone(&answers);
            // A client that hangs up ends its thread; there is no one to tell.
            thread::spawn(move || talk(stream, &answers));
        }
    });
    Ok(address)
}

fn talk(stream: TcpStream, answers: &HashMap<String, Vec<u8>>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut header = String::new();
        while reader.read_line(&mut header)? > 2 {
            header.clear();
        }
        let body = request.split(' ').nth(1).and_then(|path| answers.get(path));
        let (status, body) = body.map_or(("404 Not Found", &b"{}"[..]), |body| ("200 OK", body));
        let mut answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        answer.extend_from_slice(body);
        reader.get_mut().write_all(&answer)?;
    }
}
