/** /docs in a browser: the description is shown and a request is made from it, and nothing is asked of another site. */
import t from 'tap'
import { noBrowser, openBrowser, openPage } from './browser.js'
import { runService } from './service-rig.js'

t.test('the API as a page: operations are shown, and one is tried', { skip: noBrowser }, async (t) => {
  const { url } = await runService(t)
  const { page, faults } = await openPage(t, await openBrowser(t))
  await page.goto(`${url}/docs#/operations/getLive`)
  await page.getByText('Classify images of one domain.').waitFor()
  await page.getByRole('button', { name: 'Try it out' }).click()
  await page.getByRole('button', { name: 'Execute' }).click()
  await page.getByText('"status": "live"').first().waitFor()
  t.same(faults, [])
})
