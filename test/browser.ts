/** A browser for tests of pages: the system's Chromium, what a page did that it may not do, and axe's findings. */
import { accessSync, constants, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { delimiter, join } from 'node:path'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import type { Test } from 'tap'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']
/** Longest wait for what a page is to show. Long, since a machine may be busy; nothing is timed. */
const PATIENCE_MS = 60_000

/** The browser's program: `FACET_CHROMIUM`, or the first one on the PATH. */
const program = process.env.FACET_CHROMIUM ?? NAMES.flatMap(onPath)[0]

/** Says why tests of pages are skipped; false where there is a browser. */
export const noBrowser =
  program === undefined &&
  `no browser: install Debian's chromium, or name one in FACET_CHROMIUM (tried ${NAMES.join(', ')})`

function onPath(name: string): string[] {
  return (process.env.PATH ?? '').split(delimiter).flatMap((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK)
      return [join(folder, name)]
    } catch {
      return []
    }
  })
}

/** Starts a browser that is closed when the test ends. Its camera is a drawing, and it asks nobody for it. */
export async function openBrowser(t: Test): Promise<Browser> {
  const browser = await chromium.launch({
    executablePath: program!,
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-background-networking',
      '--use-fake-device-for-media-stream',
      '--use-fake-ui-for-media-stream',
    ],
  })
  t.teardown(() => browser.close())
  return browser
}

export interface Watched {
  page: Page
  /** Errors that nobody caught, violations of the page's policy, dialogs, and requests to other origins. */
  faults: string[]
  /** All requests: `METHOD /path`. */
  requests: string[]
}

/** A page in a context of its own, closed when the test ends. */
export async function openPage(
  t: Test,
  browser: Browser,
  options: BrowserContextOptions = {},
): Promise<Watched> {
  const context = await browser.newContext(options)
  t.teardown(() => context.close())
  context.setDefaultTimeout(PATIENCE_MS)
  const page = await context.newPage()
  const faults: string[] = []
  const requests: string[] = []
  let origin: string | undefined
  page.on('request', (request) => {
    const url = new URL(request.url())
    origin ??= url.origin
    requests.push(`${request.method()} ${url.pathname}${url.search}`)
    if (url.origin !== origin) faults.push(`request to ${url.href}`)
  })
  page.on('pageerror', (error) => faults.push(`error: ${error.message}`))
  page.on('dialog', (dialog) => {
    faults.push(`dialog: ${dialog.message()}`)
    void dialog.dismiss()
  })
  page.on('console', (message) => {
    if (message.text().startsWith('violation:')) faults.push(message.text())
  })
  await page.addInitScript(
    "addEventListener('securitypolicyviolation', (e) => console.log('violation:', e.violatedDirective, e.blockedURI))",
  )
  return { page, faults, requests }
}

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** What axe finds wrong with the page as it is now: a line for each rule and element. */
export async function axeFindings(page: Page): Promise<string[]> {
  await page.evaluate(axe)
  return page.evaluate(
    "axe.run().then(({ violations }) => violations.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => id + ' at ' + target.join(' ') + ': ' + failureSummary)))",
  )
}
