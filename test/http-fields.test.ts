/** `top_k` and `version` as fields of a form, beside its images. */
import t from 'tap'
import { image, multipart, pack, sha256, testApp } from './http-app.js'

const predict = '/v1/domains/colours/predict'
const embed = '/v1/domains/colours/embed'
const picture = { name: 'colours', bytes: image(1, 1, 2) }
const field = (name: string, text: string) => ({ name, bytes: Buffer.from(text), filename: null })
const post = (url: string, parts: Parameters<typeof multipart>[0]) => ({
  method: 'POST' as const,
  url,
  ...multipart(parts),
})

t.test('a field is the parameter, wherever it stands among the images', async (t) => {
  const { app } = await testApp(t)
  for (const url of [predict, '/v1/predict'])
    for (const parts of [
      [picture, field('top_k', '2')],
      [field('top_k', '2'), picture],
    ]) {
      const answer = await app.inject(post(url, parts))
      const [result, ...more] = answer.json().results
      t.equal(result.predictions.length, 2, url)
      t.same(more, [], 'the field is no image')
    }
})

t.test('a field names the version', async (t) => {
  const { app, domains } = await testApp(t)
  const older = sha256(pack(['red', 'green', 'blue']))
  await domains.put('colours', pack(['one']), { activate: true })
  for (const url of [predict, embed]) {
    const answer = await app.inject(post(url, [picture, field('version', older.slice(0, 12))]))
    t.equal(answer.json().results[0].version, older, url)
  }
})

t.test('fields that are wrong, given twice, of another route or without an image', async (t) => {
  const { app } = await testApp(t)
  const bad = { status: 400, code: 'bad_parameter' }
  const cases: [string, string, Parameters<typeof multipart>[0], object][] = [
    ['no number', predict, [picture, field('top_k', 'x')], { ...bad, detail: /top_k must be/ }],
    ['no version', predict, [picture, field('version', '')], { ...bad, detail: /is not a version/ }],
    [
      'twice',
      predict,
      [picture, field('top_k', '1'), field('top_k', '2')],
      { ...bad, detail: /more than once/ },
    ],
    [
      'query too',
      `${predict}?top_k=1`,
      [picture, field('top_k', '1')],
      { ...bad, detail: /in the query and/ },
    ],
    ['top_k to embed', embed, [picture, field('top_k', '1')], { ...bad, detail: /no form field 'top_k'/ }],
    [
      'version of any',
      '/v1/predict',
      [picture, field('version', 'abcdef')],
      { ...bad, detail: /each domain has/ },
    ],
    ['no image', predict, [field('top_k', '1')], { status: 400, code: 'empty_body' }],
  ]
  for (const [what, url, parts, problem] of cases)
    t.match((await app.inject(post(url, parts))).json(), problem, what)
})

t.test('files of these names are images, and so are parts for a domain called so', async (t) => {
  const { app, domains } = await testApp(t)
  const file = await app.inject(post(predict, [{ ...picture, name: 'version' }]))
  t.equal(file.statusCode, 200)
  await domains.put('version', pack(['a']), { activate: true })
  const part = await app.inject(post('/v1/predict', [{ name: 'version', bytes: image(1), filename: null }]))
  t.equal(part.json().results[0].domain, 'version')
})

t.test('fields do not count as images; the index of an error counts images', async (t) => {
  const { app } = await testApp(t, { config: { maxImages: 2 } })
  const whole = await app.inject(post(predict, [field('top_k', '1'), picture, picture]))
  t.equal(whole.json().results.length, 2)
  const broken = await app.inject(
    post(predict, [field('top_k', '1'), picture, { name: 'b', bytes: Buffer.from('junk') }]),
  )
  t.match(broken.json(), { code: 'undecodable_image', index: 1 })
})
