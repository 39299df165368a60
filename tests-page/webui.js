// A server that answers as AUTOMATIC1111's webui does, as far as `--generator a1111+URL` asks: each picture
// is a gradient.

import { createServer } from "node:http";
import { crc32, deflateSync } from "node:zlib";

/** Starts it. `seen` has the requests for pictures; while `hold` is set they wait, with `failing` they fail. */
export async function startWebui() {
  const webui = { seen: [], failing: false, hold: null };
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    const send = (status, answer) => response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(answer));
    if (request.url === "/sdapi/v1/options") return send(200, { sd_model_checkpoint: "gradient" });
    if (request.url !== "/sdapi/v1/txt2img") return send(404, { detail: "Not Found" });
    const wanted = JSON.parse(body);
    webui.seen.push(wanted);
    await webui.hold;
    if (webui.failing) return send(400, { detail: "out of paint" });
    return send(200, { images: [png(wanted.width, wanted.height).toString("base64")], info: "" });
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  webui.url = `http://127.0.0.1:${server.address().port}`;
  webui.stop = () => {
    server.closeAllConnections();
    server.close();
  };
  return webui;
}

function png(width, height) {
  const rows = Buffer.alloc((1 + 3 * width) * height);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < 3 * width; x += 1) rows[(1 + 3 * width) * y + 1 + x] = (255 * (x + y)) / (3 * width + height);
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2], 8); // eight bits, red green blue
  const signature = Buffer.from("\x89PNG\r\n\x1a\n", "latin1");
  return Buffer.concat([signature, chunk("IHDR", header), chunk("IDAT", deflateSync(rows)), chunk("IEND", Buffer.alloc(0))]);
}

function chunk(kind, data) {
  const named = Buffer.concat([Buffer.from(kind, "latin1"), data]);
  const around = Buffer.alloc(8);
  around.writeUInt32BE(data.length, 0);
  around.writeUInt32BE(crc32(named), 4);
  return Buffer.concat([around.subarray(0, 4), named, around.subarray(4)]);
}
