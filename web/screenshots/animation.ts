// Writes an animated WebP out of still ones. Source: https://developers.google.com/speed/webp/docs/riff_container

import type { Part } from './stage';

/** A part of the picture that changes, and how long it then stays. */
export interface Frame extends Part {
  milliseconds: number;
}

const HAS_ANIMATION = 0b0000_0010;
const HAS_ALPHA = 0b0001_0000;
/** The frame replaces what it covers. */
const NO_BLENDING = 0b0000_0010;

/** The first frame covers the whole picture; the animation repeats for ever. */
export function animatedWebp(frames: Frame[]): Buffer {
  const [first] = frames;
  if (!first) throw new Error('an animation without frames');
  const size = Buffer.concat([uint24(first.width - 1), uint24(first.height - 1)]);
  const chunks = [
    chunk('VP8X', Buffer.concat([Buffer.from([HAS_ANIMATION | HAS_ALPHA, 0, 0, 0]), size])),
    // The background (transparent) and the number of repetitions (0: for ever).
    chunk('ANIM', Buffer.alloc(6)),
    ...frames.map((frame) => chunk('ANMF', animationFrame(frame))),
  ];
  return chunk('RIFF', Buffer.concat([Buffer.from('WEBP'), ...chunks]));
}

function animationFrame({ x, y, width, height, milliseconds, webp }: Frame): Buffer {
  const header = [x / 2, y / 2, width - 1, height - 1, milliseconds].map(uint24);
  return Buffer.concat([...header, Buffer.from([NO_BLENDING]), pictureOf(webp)]);
}

/** The chunks of a still WebP that hold its pixels. */
function pictureOf(webp: Buffer): Buffer {
  const found: Buffer[] = [];
  for (let at = 12; at < webp.length;) {
    const name = webp.toString('latin1', at, at + 4);
    const end = at + 8 + webp.readUInt32LE(at + 4);
    if (['VP8 ', 'VP8L', 'ALPH'].includes(name)) found.push(chunk(name, webp.subarray(at + 8, end)));
    at = end + (end % 2);
  }
  return Buffer.concat(found);
}

function chunk(name: string, content: Buffer): Buffer {
  const header = Buffer.alloc(8, name, 'latin1');
  header.writeUInt32LE(content.length, 4);
  return Buffer.concat([header, content, Buffer.alloc(content.length % 2)]);
}

function uint24(value: number): Buffer {
  const bytes = Buffer.alloc(3);
  bytes.writeUIntLE(value, 0, 3);
  return bytes;
}
