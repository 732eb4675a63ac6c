// Signing in at the live page, with the stack's own issuer.

import type { Page } from 'playwright-core';

export async function signIn(page: Page, name: string, moderator = false): Promise<void> {
  await page.getByRole('button', { name: 'Sign in' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Name').fill(name);
  if (moderator) await dialog.getByLabel('as moderator').check();
  await dialog.getByLabel('Name').press('Enter');
  await dialog.waitFor({ state: 'detached' });
  await page.getByRole('button', { name: `Signed in as ${name}` }).waitFor();
}
