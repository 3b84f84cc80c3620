#!/bin/busybox sh
# The first program of a guest that is measured: idle, it serves nothing over HTTP; busy, it works in Python and Node
# until its memory looks like that of a machine in use. READY says that the memory may be taken, Error that it may not.
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /ram
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mount -t tmpfs -o size=75% none /ram
exec >/dev/ttyS0 2>&1 </dev/null

for module in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk; do
    insmod /modules/$module.ko
done
tar -x -f /dev/vda -C /ram
mkdir -p /ram/dev /ram/proc /ram/tmp
mount -o bind /dev /ram/dev
mount -t proc none /ram/proc

work() {
    log=/ram/$1.log
    touch $log
    chroot /ram "/$@" >$log 2>&1 &
    until grep -q FILLED $log; do
        if ! kill -0 $!; then
            cat $log
            echo "Error: $1 ended"
            return
        fi
        sleep 1
    done
}

if grep -q bench=idle /proc/cmdline; then
    work python -c 'import http.server
server = http.server.HTTPServer(("127.0.0.1", 8000), http.server.SimpleHTTPRequestHandler)
print("FILLED", flush=True)
server.serve_forever()'
else
    tar -x -f /dev/vdb -C /ram
    head -c 48m /dev/urandom >/ram/noise
    tar -c -C /ram usr lib lib64 2>/dev/null | gzip -1 | head -c 24m >/ram/archive.gz
    work python /work.py
    work node /work.js
    grep -r hypeman /ram/usr >/dev/null &
fi
sleep 5
echo READY
while :; do
    sleep 60
done
