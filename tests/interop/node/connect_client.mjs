// Node's http2 as CONNECT client: opens tunnels to an echo server behind the proxy, all at once.
//   node connect_client.mjs <proxy ip> <cert> <key> <root> <authority> <streams> <octets per stream>
// Prints one line of JSON: what the proxy's SETTINGS were, and both hashes of each tunnel.
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import http2 from "node:http2";

const [ip, cert, key, root, authority, streams, octets] = process.argv.slice(2);
const session = http2.connect(`https://${ip}:15008`, {
  cert: readFileSync(cert),
  key: readFileSync(key),
  ca: readFileSync(root),
  minVersion: "TLSv1.3",
  checkServerIdentity: () => undefined,
  settings: { enablePush: false, initialWindowSize: 1 << 20 },
});
session.on("error", (error) => {
  process.stderr.write(`${error}\n`);
  process.exit(1);
});

function tunnel() {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ":method": "CONNECT", ":authority": authority });
    const sent = createHash("sha256");
    const received = createHash("sha256");
    let bytesReceived = 0;
    let status = 0;
    stream.on("error", reject);
    stream.on("response", (headers) => {
      status = headers[":status"];
      let left = Number(octets);
      const more = () => {
        while (left > 0) {
          // Odd sizes, so that frames and windows end in the middle of them.
          const chunk = randomBytes(Math.min(left, 1 + Math.floor(Math.random() * 200_000)));
          left -= chunk.length;
          sent.update(chunk);
          if (!stream.write(chunk)) return void stream.once("drain", more);
        }
        stream.end();
      };
      more();
    });
    stream.on("data", (chunk) => {
      received.update(chunk);
      bytesReceived += chunk.length;
    });
    stream.on("end", () =>
      resolve({
        status,
        bytesReceived,
        sent: sent.digest("hex"),
        received: received.digest("hex"),
      }));
  });
}

const settings = new Promise((resolve) => session.once("remoteSettings", resolve));
const tunnels = await Promise.all(Array.from({ length: Number(streams) }, tunnel));
const peer = session.socket.getPeerCertificate().subjectaltname;
process.stdout.write(`${JSON.stringify({ settings: await settings, peer, tunnels })}\n`);
session.close();
