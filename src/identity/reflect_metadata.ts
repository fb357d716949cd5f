// The part of the Reflect metadata proposal that @peculiar/x509's container asks for before it loads.
// Imported first by x509.ts; a full polyfill that is there already is left alone.

type Metadata = Map<unknown, unknown>;
const metadataOf = new WeakMap<object, Metadata>();

interface ReflectMetadata {
  getMetadata?: (key: unknown, target: object) => unknown;
  getOwnMetadata?: (key: unknown, target: object) => unknown;
  defineMetadata?: (key: unknown, value: unknown, target: object) => void;
}

function getOwnMetadata(key: unknown, target: object): unknown {
  return metadataOf.get(target)?.get(key);
}

function getMetadata(key: unknown, target: object): unknown {
  for (let at: object | null = target; at !== null; at = Object.getPrototypeOf(at)) {
    if (metadataOf.get(at)?.has(key)) return getOwnMetadata(key, at);
  }
  return undefined;
}

function defineMetadata(key: unknown, value: unknown, target: object): void {
  let metadata = metadataOf.get(target);
  if (metadata === undefined) {
    metadata = new Map();
    metadataOf.set(target, metadata);
  }
  metadata.set(key, value);
}

const reflect = Reflect as ReflectMetadata;
if (reflect.getMetadata === undefined) {
  Object.assign(reflect, { getMetadata, getOwnMetadata, defineMetadata });
}
