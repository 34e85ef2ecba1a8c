/** What tests of the dashboard share: a service with domains of random packs, and files given to a page. */
import type { Page } from 'playwright-core'
import type { Test } from 'tap'
import { packBytes, put, runService } from './service-rig.js'

/** A folder that has no packs. */
export const NONE = ['--adapters', 'test/fixtures']

/** A service with two domains of random packs, `cats` and `dogs`, beside the base. */
export async function twoDomains(t: Test, flags: string[] = []) {
  const running = await runService(t, [...NONE, ...flags])
  for (const [seed, domain] of ['cats', 'dogs'].entries())
    t.equal((await put(running.url, domain, packBytes(seed, domain))).status, 201)
  return running
}

export const file = (name: string, buffer: Uint8Array, mimeType = 'image/png') => ({
  name,
  mimeType,
  buffer: Buffer.from(buffer),
})

/** Chooses files as a person does, by the button. */
export async function choose(page: Page, button: string, ...files: ReturnType<typeof file>[]) {
  const opened = page.waitForEvent('filechooser')
  await page.getByRole('button', { name: button }).click()
  await (await opened).setFiles(files)
}
