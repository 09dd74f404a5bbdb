//! The floor: a server that does nothing but one `send` for each subscriber.
//!
//! In: on standard input, how often the frame is to be sent to everybody in one call. Out: those bytes, on every
//! socket. Invariant: no less can be done per delivery without another kernel interface; what the daemon costs is
//! told as a multiple of this, measured in the same run.

use std::io::{IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::Outcome;

/// `rowcast-bench raw SUBSCRIBERS FRAME-FILE`
pub fn serve(subscribers: usize, frame: &Path) -> Outcome<()> {
    let frame = std::fs::read(frame)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let mut sockets = Vec::new();
    for _ in 0..subscribers {
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        sockets.push(socket);
    }
    let mut control = std::io::stdin().lock();
    let mut order = [0; 4];
    while control.read_exact(&mut order).is_ok() {
        let order = u32::from_le_bytes(order);
        let bytes = frame.repeat((order & !VECTORED).try_into()?);
        for socket in &sockets {
            let mut socket = socket;
            let sent = match order & VECTORED {
                0 => socket.write(&bytes)?,
                _ => socket.write_vectored(&[IoSlice::new(&bytes)])?,
            };
            // Sockets that wait for their reader take everything.
            if sent < bytes.len() {
                socket.write_all(&bytes[sent..])?;
            }
        }
    }
    Ok(())
}

/// Such a server as a process on the daemon's core.
pub struct Raw {
    pub address: SocketAddr,
    child: Child,
    control: Option<ChildStdin>,
}

impl Raw {
    pub fn start(subscribers: usize, frame: &Path, cores: &str) -> Outcome<Self> {
        let mut command = Command::new("taskset");
        command.args(["-c", cores]).arg(std::env::current_exe()?).arg("raw");
        command.arg(subscribers.to_string()).arg(frame);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let mut output = child.stdout.take().ok_or("no output")?;
        let mut byte = [0];
        while output.read(&mut byte)? == 1 && byte != *b"\n" {
            line.push(char::from(byte[0]));
        }
        let control = child.stdin.take();
        Ok(Self { address: line.parse()?, child, control })
    }

    /// The frame, so many times in one `send` to each subscriber.
    pub fn send(&mut self, times: u32) -> Outcome<()> {
        self.order(times)
    }

    /// The same by `writev`.
    pub fn send_vectored(&mut self, times: u32) -> Outcome<()> {
        self.order(times | VECTORED)
    }

    fn order(&mut self, order: u32) -> Outcome<()> {
        let control = self.control.as_mut().ok_or("the raw server has ended")?;
        Ok(control.write_all(&order.to_le_bytes())?)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        drop(self.control.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In an order: by `writev`.
const VECTORED: u32 = 1 << 31;
