"""Publishes what comes on /publish to every other WebSocket, by a topic of uWebSockets: uws.py PORT"""
import sys

from socketify import App, AppListenOptions, CompressOptions, OpCode

app = App()
app.ws(
    "/",
    {
        "compression": CompressOptions.DISABLED,
        "send_pings_automatically": True,
        "open": lambda socket: socket.subscribe("all"),
    },
)
app.ws(
    "/publish",
    {
        "compression": CompressOptions.DISABLED,
        "idle_timeout": 0,
        "message": lambda socket, message, opcode: app.publish("all", message, OpCode.TEXT),
    },
)
app.listen(AppListenOptions(port=int(sys.argv[1]), host="127.0.0.1"), lambda config: None)
# Not app.run(): beside uWebSockets that polls an event loop of Python, which nobody needs here.
while True:
    app.loop.uv_loop.run_once()
