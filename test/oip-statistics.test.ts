/** The statistics extension: what models were asked, by either plane. */
import t from 'tap'
import { image, pack, sha256, testApp } from './http-app.js'

const raw = { 'content-type': 'application/octet-stream' }
const colours = sha256(pack(['red', 'green', 'blue']))

t.test('requests, images, runs and failures are counted for each version', async (t) => {
  const { app, domains } = await testApp(t)
  const post = (url: string, payload: Buffer | string) =>
    app.inject({ method: 'POST', url, headers: raw, payload })
  const stats = async (model: string) => (await app.inject(`/v2/models/${model}/stats`)).json().model_stats
  const none = { count: 0, ns: 0 }
  t.match(await stats('colours'), [
    {
      name: 'colours',
      version: colours,
      last_inference: 0,
      inference_count: 0,
      inference_stats: { success: none },
    },
  ])
  await post('/v1/domains/colours/predict', image(1))
  await post('/v2/models/colours/infer', image(2))
  await post('/v2/models/colours/infer', 'junk')
  const before = Date.now() - 60_000
  const [own, ...others] = await stats('colours')
  t.same(others, [])
  t.match(own, {
    inference_count: 2,
    execution_count: 2,
    inference_stats: { success: { count: 2 }, fail: { count: 1 } },
  })
  t.ok(own.last_inference > before)
  t.equal(own.inference_stats.compute_infer.ns, 4e6, 'two runs of 2 ms')
  t.same(Object.keys(own.inference_stats), ['success', 'fail', 'queue', 'compute_input', 'compute_infer'])
  t.match(await stats('colours:features'), [{ name: 'colours:features', inference_count: 2 }])
  const { version } = await domains.put('colours', pack(['one']), { activate: true })
  await post('/v2/models/colours/infer', image(1))
  t.match(await stats('colours'), [{ version, inference_count: 1 }])
  t.match(await stats(`colours/versions/${colours}`), [
    { inference_count: 2, inference_stats: { fail: none } },
  ])
  const all = (await app.inject('/v2/models/stats')).json().model_stats
  t.match(all, [
    { name: 'colours', version: colours, inference_count: 2 },
    { name: 'colours', version, inference_count: 1 },
  ])
  t.equal(all.length, 2, 'what was asked nothing is left out')
})

t.test('statistics need what predicting needs', async (t) => {
  const { app } = await testApp(t, { predictToken: 'reader' })
  for (const url of ['/v2/models/stats', '/v2/models/colours/stats'])
    t.equal((await app.inject(url)).statusCode, 401)
  t.equal((await app.inject('/v2/models/nope/stats')).statusCode, 401)
})
