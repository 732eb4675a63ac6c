// A page that draws two windows side by side, and tells which part of the picture has changed.

import type { Browser, BrowserContext, Page } from 'playwright-core';

/** A part of the picture as a WebP, with its place in pixels. */
export interface Part {
  x: number;
  y: number;
  width: number;
  height: number;
  webp: Buffer;
}

/** From 0 to 1. Text stays sharp, at a quarter of a lossless picture's bytes. */
const QUALITY = 0.9;

interface Window {
  viewport: { width: number; height: number };
  deviceScaleFactor: number;
}

export class Stage {
  private constructor(
    private readonly context: BrowserContext,
    private readonly page: Page,
  ) {}

  static async open(browser: Browser, window: Window, colorScheme: 'light' | 'dark'): Promise<Stage> {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.setContent('<canvas></canvas>');
    await page.evaluate(prepare, {
      width: window.viewport.width * window.deviceScaleFactor,
      height: window.viewport.height * window.deviceScaleFactor,
      scale: window.deviceScaleFactor,
      isDark: colorScheme === 'dark',
      quality: QUALITY,
    });
    return new Stage(context, page);
  }

  /** Draws both windows; nothing where the picture is the same as before. */
  async show(left: Buffer, right: Buffer): Promise<Part | undefined> {
    const pictures: [string, string] = [left.toString('base64'), right.toString('base64')];
    const part = await this.page.evaluate(draw, pictures);
    return part && { ...part, webp: Buffer.from(part.webp, 'base64') };
  }

  /** The whole picture as it is now. */
  async still(): Promise<Buffer> {
    return Buffer.from(await this.page.evaluate(whole), 'base64');
  }

  async close(): Promise<void> {
    await this.context.close();
  }
}

// The functions below run in the stage's page, and share what `prepare` leaves there.

interface Drawing {
  canvas: HTMLCanvasElement;
  width: number;
  height: number;
  scale: number;
  isDark: boolean;
  quality: number;
  previous?: Uint32Array;
}

function prepare(picture: Omit<Drawing, 'canvas' | 'previous'>): void {
  const canvas = document.querySelector('canvas') as HTMLCanvasElement;
  const bar = 26 * picture.scale;
  const gap = 20 * picture.scale;
  // Even, as the places of an animation's frames are.
  canvas.width = 2 * Math.ceil((2 * picture.width + gap) / 2);
  canvas.height = 2 * Math.ceil((picture.height + bar) / 2);
  Object.assign(window, { drawing: { canvas, ...picture } });
}

async function draw(pictures: [string, string]) {
  const { drawing } = window as unknown as { drawing: Drawing };
  const { canvas, width, height, scale, isDark } = drawing;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  if (!context) throw new Error('no canvas');
  const bar = canvas.height - height;
  context.clearRect(0, 0, canvas.width, canvas.height);
  for (const [index, base64] of pictures.entries()) {
    const image = new Image();
    image.src = `data:image/png;base64,${base64}`;
    await image.decode();
    const x = index === 0 ? 0 : canvas.width - width;
    context.save();
    context.beginPath();
    context.roundRect(x, 0, width, canvas.height, 10 * scale);
    context.clip();
    context.fillStyle = isDark ? '#3a352c' : '#d9d2c5';
    context.fillRect(x, 0, width, canvas.height);
    for (const [dot, colour] of ['#e0675a', '#e0b04c', '#63b06a'].entries()) {
      context.fillStyle = colour;
      context.beginPath();
      context.arc(x + (16 + 16 * dot) * scale, bar / 2, 4.5 * scale, 0, 2 * Math.PI);
      context.fill();
    }
    context.drawImage(image, x, bar);
    context.restore();
  }

  const pixels = new Uint32Array(context.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
  const { previous } = drawing;
  drawing.previous = pixels;
  let [left, top, right, bottom] = [canvas.width, canvas.height, -1, -1];
  for (const [index, pixel] of pixels.entries()) {
    if (previous && previous[index] === pixel) continue;
    const x = index % canvas.width;
    const y = Math.floor(index / canvas.width);
    left = Math.min(left, x);
    right = Math.max(right, x);
    top = Math.min(top, y);
    bottom = Math.max(bottom, y);
  }
  if (right < 0) return undefined;
  left -= left % 2;
  top -= top % 2;
  const part = document.createElement('canvas');
  part.width = right - left + 1;
  part.height = bottom - top + 1;
  part.getContext('2d')?.drawImage(canvas, -left, -top);
  const webp = part.toDataURL('image/webp', drawing.quality).split(',')[1] ?? '';
  return { x: left, y: top, width: part.width, height: part.height, webp };
}

function whole(): string {
  const { drawing } = window as unknown as { drawing: Drawing };
  return drawing.canvas.toDataURL('image/webp', drawing.quality).split(',')[1] ?? '';
}
