/** The first command that the log shows: for what is served, with files that are there. */
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { firstCommand, type Situation } from '../src/serve/start-line.js'

const URL = 'http://127.0.0.1:8080'
type Domain = Situation['domains'][number]
const domain = (id: string, more: Partial<Domain> = {}): Domain => ({
  domain: id,
  version: 'a'.repeat(64),
  residency: 'cold',
  classes: 3,
  ...more,
})
const base = domain('base', { residency: 'resident' })

function command(t: Test, more: Partial<Situation>, samples: object = {}) {
  const cwd = t.testdir({ samples } as Parameters<typeof t.testdir>[0])
  return firstCommand({
    url: URL,
    domains: [base, domain('cats'), domain('dogs')],
    base: join(cwd, 'models', 'own', 'base.safetensors'),
    cwd,
    predictToken: null,
    adminToken: null,
    changes: true,
    ...more,
  })
}

t.test('a sample of a domain that is served', async (t) => {
  const samples = { base: { 'x.png': '' }, gone: { 'x.png': '' }, dogs: { 'b.png': '', 'a.JPG': '' } }
  t.equal(await command(t, {}, samples), `curl -F image=@samples/dogs/a.JPG ${URL}/v1/domains/dogs/predict`)
})

t.test('a file that is no image, or needs quotes, is no sample', async (t) => {
  const samples = { cats: { 'README.md': '', 'big cat.png': '', 'a;b.png': '' }, dogs: { 'b.webp': '' } }
  t.match(await command(t, {}, samples), '@samples/dogs/b.webp ')
})

t.test('without a sample an image to fill in, for a domain that can answer', async (t) => {
  t.equal(await command(t, {}), `curl -F image=@IMAGE.jpg ${URL}/v1/domains/cats/predict`)
  const domains = [
    base,
    domain('broken', { residency: 'failed' }),
    domain('features', { classes: 0 }),
    domain('inactive', { version: null, residency: 'inactive' }),
  ]
  const samples = { broken: { 'x.png': '' }, features: { 'x.png': '' } }
  t.equal(
    await command(t, { domains: [...domains, domain('dogs')] }, samples),
    `curl -F image=@IMAGE.jpg ${URL}/v1/domains/dogs/predict`,
  )
  t.equal(await command(t, { domains }, samples), `curl -F image=@IMAGE.jpg ${URL}/v1/domains/features/embed`)
})

t.test('without domains a pack to register: the base is one', async (t) => {
  const none = { domains: [base] }
  t.equal(
    await command(t, none, { base: { 'x.png': '' } }),
    `curl -T models/own/base.safetensors ${URL}/v1/domains/my-domain`,
  )
  const elsewhere = "/srv/it's here/base.safetensors"
  t.equal(
    await command(t, { ...none, base: elsewhere }),
    `curl -T '/srv/it'\\''s here/base.safetensors' ${URL}/v1/domains/my-domain`,
  )
  t.equal(await command(t, { ...none, changes: false }), `curl ${URL}/v1/family`, 'the control plane is off')
})

t.test('a token that is needed is named by its variable, never by its value', async (t) => {
  const tokens = { predictToken: 'FACET_PREDICT_TOKEN', adminToken: 'FACET_ADMIN_TOKEN' }
  t.match(await command(t, tokens), /^curl --oauth2-bearer \$FACET_PREDICT_TOKEN -F /)
  t.match(await command(t, { ...tokens, domains: [base] }), /^curl --oauth2-bearer \$FACET_ADMIN_TOKEN -T /)
})

t.test('an address that a shell would expand is quoted', async (t) => {
  t.match(await command(t, { url: 'http://[::1]:80' }), " 'http://[::1]:80/v1/domains/cats/predict'")
})
