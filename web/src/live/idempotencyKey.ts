// A key that no other attempt has. `crypto.randomUUID` is missing where a page came over plain HTTP
// from another device.

export function newIdempotencyKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
