/** A container's CPU quota, read as the kernel shows it. */
import t from 'tap'
import { availableCores, cpuQuota } from '../src/host/cpu-quota.js'

t.test('no quota without a cgroup file', (t) => {
  t.equal(cpuQuota(t.testdir({})), Number.POSITIVE_INFINITY)
  const unlimited = {
    proc: { self: { cgroup: '0::/\n' } },
    sys: { fs: { cgroup: { 'cpu.max': 'max 100000\n' } } },
  }
  const root = t.testdir(unlimited)
  t.equal(cpuQuota(root), Number.POSITIVE_INFINITY)
  t.equal(availableCores(root, 8), 8)
  t.end()
})

t.test('cgroup v2, inside its own namespace', (t) => {
  const root = t.testdir({
    proc: { self: { cgroup: '0::/\n' } },
    sys: { fs: { cgroup: { 'cpu.max': '250000 100000\n' } } },
  })
  t.equal(cpuQuota(root), 2.5)
  t.equal(availableCores(root, 8), 2)
  t.equal(availableCores(root, 1), 1)
  t.end()
})

t.test('cgroup v2: the least of all levels counts', (t) => {
  const root = t.testdir({
    proc: { self: { cgroup: '0::/pods/a:b/main\n' } },
    sys: {
      fs: {
        cgroup: {
          pods: {
            'cpu.max': '600000 100000\n',
            'a:b': { 'cpu.max': '50000 100000\n', main: { 'cpu.max': 'max 100000\n' } },
          },
        },
      },
    },
  })
  t.equal(cpuQuota(root), 0.5)
  t.equal(availableCores(root, 8), 1, 'at least one')
  t.end()
})

t.test('cgroup v1', (t) => {
  const quota = (us: string) => ({ 'cpu.cfs_quota_us': `${us}\n`, 'cpu.cfs_period_us': '100000\n' })
  const root = t.testdir({
    proc: { self: { cgroup: '5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n' } },
    sys: { fs: { cgroup: { cpu: { ...quota('-1'), docker: { x: quota('300000') } } } } },
  })
  t.equal(cpuQuota(root), 3)
  t.end()
})

t.test('cgroup v1 in a container, where the path is not below the mount', (t) => {
  const root = t.testdir({
    proc: { self: { cgroup: '4:cpu,cpuacct:/docker/x\n' } },
    sys: { fs: { cgroup: { cpu: { 'cpu.cfs_quota_us': '150000\n', 'cpu.cfs_period_us': '100000\n' } } } },
  })
  t.equal(cpuQuota(root), 1.5)
  t.end()
})
