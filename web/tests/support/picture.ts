// Pictures of pages, for people to look at: with SCREENSHOTS set to a folder, a test leaves them there.

import { join } from 'node:path';

import type { Page } from 'playwright-core';

export async function picture(page: Page, name: string): Promise<void> {
  const folder = process.env.SCREENSHOTS;
  if (folder) await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
}
