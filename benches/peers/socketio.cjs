// Emits the JSON of each line of its second port to every client of its first: socketio.cjs PORT CONTROL
const { createServer } = require("node:net");
const { createServer: createHttpServer } = require("node:http");
const { createInterface } = require("node:readline");
const { Server } = require("socket.io");

const [port, control] = process.argv.slice(2);
const host = "127.0.0.1";
const http = createHttpServer();
const server = new Server(http, { transports: ["websocket"], serveClient: false });
// Its documentation advises this to save memory.
server.engine.on("connection", (socket) => { socket.request = null; });
http.listen(port, host);

const lines = (socket) =>
  createInterface({ input: socket }).on("line", (line) => server.emit("event", JSON.parse(line)));
createServer(lines).listen(control, host);
