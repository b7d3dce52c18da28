
1root"_tf_keras_sequential*{"class_name": "Seq