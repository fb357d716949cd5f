// What is particular to descriptors; the rest is the suite that every network of real sockets runs.
import { networkContract } from "../../../tests/support/network_contract.ts";
import { NativeLoopback } from "../../../tests/support/native_sockets.ts";

networkContract("native", (options) => new NativeLoopback(options), {
  processFlags: "--allow-ffi --allow-read",
});
