// Sends each line of its second port to every WebSocket of its first: ws.cjs PORT CONTROL send|frame
const { createServer } = require("node:net");
const { createInterface } = require("node:readline");
const { Sender, WebSocket, WebSocketServer } = require("ws");

const [port, control, way] = process.argv.slice(2);
const host = "127.0.0.1";
const server = new WebSocketServer({ host, port, perMessageDeflate: false });

const broadcasts = {
  // As in the documentation of ws: each send makes the frame again.
  send: (data) => {
    for (const client of server.clients)
      if (client.readyState === WebSocket.OPEN) client.send(data, { binary: false });
  },
  // As socket.io's adapter does it: one frame for everybody.
  frame: (data) => {
    const options = { fin: true, rsv1: false, opcode: 1, mask: false, readOnly: true };
    const frame = [Buffer.concat(Sender.frame(data, options))];
    for (const client of server.clients)
      if (client.readyState === WebSocket.OPEN) client._sender.sendFrame(frame);
  },
};
const broadcast = broadcasts[way];

const lines = (socket) =>
  createInterface({ input: socket }).on("line", (line) => broadcast(Buffer.from(line)));
createServer(lines).listen(control, host);
