// Buffers that native code writes to.

/**
 * `byteLength` octets, zeroed, whose address never changes: small typed arrays made in the usual way live on the
 * script's heap and have to be moved out of it at the first call.
 */
export function nativeBytes(byteLength: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new ArrayBuffer(byteLength));
}
